"""WeChat: template messages of a service account."""

from channels.wechat.channel import WeChatChannel

CHANNEL = WeChatChannel()
