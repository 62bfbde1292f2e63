"""What unclassified data looks like: detectors of personal data, payment data and secrets.

An alarm and a source of proposals, never a control: nothing here decides what a client may see, and
the import rules keep it apart from `policy` and `masking`. Pure: values and names in, counts out.
`values` looks at cells (`patterns` finds, `checks` and `national` verify), `names` at
columns' names, types and comments. Used by `dataplane/alarm` on live traffic and by `sallyport
classify scan`.
Rule: no value ever leaves this package, only how many of how many fitted.
"""
