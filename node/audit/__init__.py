"""Who has run whose what here, when, and with which result, so that not even this node can rewrite it unnoticed.

`chain`      pure: growing the log, and finding where one that is shown was changed
`witnesses`  engine: heads that others have given to keep, and which of them contradict each other
`log`        shell: what execution has run goes to disk, the head to neighbours
`inquiry`    shell: anybody's log, held against what its neighbours keep
"""
