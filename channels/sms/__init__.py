"""SMS."""

from channels.sms.channel import SmsChannel

CHANNEL = SmsChannel()
