"""The UDP ping server: confirms datagrams, and drops half of them on purpose."""
