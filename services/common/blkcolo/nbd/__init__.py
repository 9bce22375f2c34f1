"""The NBD front end: a sans-IO protocol core and its asyncio edge."""
