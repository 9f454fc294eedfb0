"""What may be said on a link, when, and by whom; without any I/O.

`states`   the table: role → state → (direction, message) → state
`session`  bytes in, messages out, and the other way round, judged by the table
"""
