"""LINE: push messages to users, and notification messages to phone numbers."""

from channels.line.channel import LineChannel, LineNotificationChannel

CHANNEL = LineChannel()
NOTIFICATIONS = LineNotificationChannel()
