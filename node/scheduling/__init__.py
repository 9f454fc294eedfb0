"""Which of the waiting tasks runs next: policies behind one interface.

`policy`   what the dispatcher asks of any of them
`fcfs`     first come, first served
"""
