"""The borrowers' own pages behind a signed link: preferences, messages, help, unsubscribe. They know no session."""
