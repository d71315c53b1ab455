import { readdirSync, readFileSync } from 'node:fs'

/** Stops a process with SIGSTOP; resolves once none of its threads runs any more. */
export async function stop(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  while (!isStopped(pid)) await new Promise(setImmediate)
}

function isStopped(pid: number): boolean {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.every(id => /\) T/.test(readFileSync(`/proc/${pid}/task/${id}/stat`, 'latin1')))
}
