"""Registers: values that must not fork. One per name, agreed by a majority of the acceptors that the value names.

CASPaxos (Rystsov, 2018, arXiv 1802.07000): prepare, accept, a change function; no leader, no log.

`quorums`     which answers are enough, also while the acceptors change
`acceptor`    engine: one node's promises and accepted values
`proposer`    engine: one operation, from its first question to its answer
`changes`     change functions: of the content, of the acceptors, of the directory
`service`     shell: answers peers and carries operations out
`founding`    how the first acceptors of all are agreed
`witnesses`   who stands for a founding, and what that weighs
`beliefs`     engine: what a node believes of the founding by what it is told
`choosing`    who shall be acceptors (pure)
`upkeep`      replaces acceptors that are gone

Why a register cannot be made twice: its first acceptors are an entry of a *directory*, which is a register itself, and
the directories' own first acceptors are entries of the one *root* register. The root's are agreed by the *founding*: a
round to which everybody the founder knows of, alive or dead, has to agree. Two foundings that share one node therefore
become one. What remains is an assumption that no protocol can do without, since a node that is alone cannot tell
whether it is the first: two parts of a mesh that know nothing of each other (they have never met; or not since their
nodes were last started; or not for six hours) do not both carry out the mesh's very first agreed operation. Should
they, their registers never mix; when the parts meet, the founding that weighs less gives way, and whoever uses
registers is told what they held (`Founding.given_up`).
"""
