"""WhatsApp."""

from channels.whatsapp.channel import WhatsAppChannel

CHANNEL = WhatsAppChannel()
