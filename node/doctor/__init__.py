"""What is wrong here, and what to do about it.

`findings`  what a check says
`machine`   checks of this machine alone: sandbox, files, disk, interfaces, multicast
`judging`   pure: what a node knows, judged
`asking`    shell: gathers what a running node knows
"""
