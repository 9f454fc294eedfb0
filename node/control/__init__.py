"""The control socket: programs and verbs of the same user talk to the node here, and tasks to their own.

`listening`   the socket, and who may come in
`connection`  what one of them asks, and its answers
`jobs`        the jobs of a connection
`uploads`     payloads that come in parts, and their room
`rights`      what a program may ask, and what a task
`served`      what all this asks of the node and of the process around it
"""
