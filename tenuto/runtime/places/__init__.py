"""Places: where the code of a job runs: a thread, a child process, somebody's executor. They know no queue."""
