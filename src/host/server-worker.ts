import { parentPort, workerData } from 'node:worker_threads'
import { Server, type ServerOptions } from './server.ts'

/** The host's loop in a thread of its own, so that signals find the main thread awake. */
const { options, stopFd } = workerData as { options: ServerOptions; stopFd: number }
const server = new Server(options)
parentPort?.postMessage('ready')
server.run(stopFd)
