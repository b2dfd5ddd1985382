"""The HTML pages: template editor, status page, sign-in."""
