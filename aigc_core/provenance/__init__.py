"""Where a sample comes from: the record that it carries, the ledger that knows it without, the way back.

`content` says what a file decodes to, whatever it is called and however it is written; `environment` what a
result's last bits depend on; `private` hides what is nobody's business; `marks` tells other programs that a
machine made it; `ledger` remembers every sample by its content; `trace` leads back to weights, data and run,
`replay` makes it again; `credentials` signs it.
"""
