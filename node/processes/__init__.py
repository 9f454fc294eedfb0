"""Tasks in execution, as their owner sees them.

`process`   the control block and its states
`ended`     the last ones that have ended
`types`     what kinds of processes there are, and how they are shown
`moving`    one that is to go on at another node
`service`   any node shows and acts on the processes of all
"""
