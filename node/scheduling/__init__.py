"""Which of the waiting tasks runs next: policies behind one interface.

`policy`     what a dispatcher asks of any of them
`queues`     the two queues that they are made of
`fcfs` `sjf` `priority` `rr` `mlfq` `fair`   one policy each
`nested`     what tasks have submitted comes before all else, whatever the policy
`catalogue`  policies by name, those of other packages too
`times`      when an item was ready, ran and ended; statistics
`workload`   tasks to compare policies with
`machine`    runs a workload under a policy in virtual time
"""
