"""The UDP ping client: sends, waits, sends again, and measures."""
