"""Jobs that outlive the machine that took them: detached and durable ones.

    `journal`   engine: one job's log at its master or at a deputy; what all of them hold may be shown
    `seats`     pure: who is master of which job in which epoch, as registers have it
    `story`     pure: what a log says has happened
    `deputies`  pure: who is to hold a job's log beside its master
    `archive`   logs, and the long payloads they name, on disk
    `mastery`   shell: one job this node is master of
    `shelf`     shell: the logs held here for other masters
    `succession` shell: who goes on when a master is gone
    `asking`    shell: one node asks another
    `resuming`  shell: how it goes on: from the log, and with what runs on
    `orphaned`  shell: what a worker does with jobs whose master is gone
    `service`   shell: every lasting job of this node
    `questions` shell: any node answers for any job
    `telling`   what a person is told of a job

A job that only its client waits for needs none of this: the client is its authority.
"""
