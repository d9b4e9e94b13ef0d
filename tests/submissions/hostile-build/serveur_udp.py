print("jamais atteint")
