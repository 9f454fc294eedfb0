"""Jobs: what a master does.

`placement`  pure: which node is to run a task
`master`     engine: tasks of all jobs this node is master of; submissions and confirmations in, assignments and
             reports out
`placing`    the part of that engine that gives tasks out, and finds something for idle nodes
`adopting`   pure: tasks that run on where an earlier master of their job gave them
`binding`    pure: a task that is to go on at another node
`batches`    cutting lists so that each part fits into a frame
`service`    shell: gives the engine its events, carries its effects to links, this node's own execution, and clients
"""
