"""The notification gateway: decides, sends, follows and proves payment reminders."""
