#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { createProgram } from './program.ts'

// Whoever reads us may stop reading, as head(1) does: nothing is left to say then.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit()
    throw error
  })
}

const packageJson = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
const { version } = JSON.parse(packageJson) as { version: string }

void createProgram(version).parseAsync()
