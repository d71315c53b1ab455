/**
 * The program of a child puppet: `node puppet-main.js MODULE`. The module says which platform the
 * child lives on, by its export `platform`; what that needs to know it takes from the environment.
 */
import { createInterface } from 'node:readline'
import type { Platform } from '../platform.ts'
import { Agent } from './agent.ts'
import { decodeLine, encodeLine, PUPPET_PROTOCOL_VERSION, type Request } from './puppet-protocol.ts'

/** What the module named on the command line exports. */
export interface PuppetPlatform {
  platform(): Platform | Promise<Platform>
}

async function main(moduleUrl: string | undefined): Promise<void> {
  if (!moduleUrl) throw new Error('usage: puppet-main.js MODULE')
  const module = (await import(moduleUrl)) as PuppetPlatform
  const platform = await module.platform()
  const agent = new Agent(platform)
  // Whoever commanded us is gone, and with it everybody who could be told so.
  process.stdout.on('error', () => process.exit(1))
  say({ hello: PUPPET_PROTOCOL_VERSION, pid: process.pid, domid: platform.domid })
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, ...request } = decodeLine(line)
    if (request.op === 'exit') {
      // With everything still open: what an exit releases is the kernel's business.
      say({ id, result: 0 })
      process.exit(0)
    }
    try {
      say({ id, ...(await agent.perform(request as unknown as Request)) })
    } catch (error) {
      say({ id, error: String(error) })
    }
  }
  process.exit(0)
}

function say(message: object): void {
  process.stdout.write(`${encodeLine(message)}\n`)
}

main(process.argv[2]).catch((error: unknown) => {
  console.error(error)
  process.exit(1)
})
