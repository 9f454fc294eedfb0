"""Who is alive and how busy. After SWIM (Das, Gupta, Motivala, 2002) and Lifeguard (Dadgar, Phillips, Currey, 2018).

`members`     the table, and which of two things said of one member stands
`probing`     engine: who is asked whether it is there, directly and through others
`health`      how much a node trusts itself, and how long a suspicion waits
`exchange`    engine: what is told to whom, and when
`dialling`    engine: whom a node dials by itself; the dead, too
`detector`    engine: all of these together; joined / suspected / left / died out
`neighbours`  whom a node keeps a link to
`loads`       the latest load report of every neighbour
`service`     shell: links on one side, the detector on the other
"""
