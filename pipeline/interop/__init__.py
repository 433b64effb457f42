"""Bridges to other libraries; nothing inside imports them."""
