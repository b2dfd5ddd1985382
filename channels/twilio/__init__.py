"""Twilio's Messages API, which several channels use. No channel itself."""
