import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

const PROJECT = fileURLToPath(new URL('..', import.meta.url))
const { INTERDOM_PLATFORM: _p, INTERDOM_HOST: _h, INTERDOM_DOMID: _d, ...env } = process.env

/** Node 20 knows no `using`, so the blocks are compiled as a user's would be. */
function compiled(block: string): string {
  const { ES2022: target } = ts.ScriptTarget
  const module = ts.ModuleKind.ESNext
  return ts.transpileModule(block, { compilerOptions: { target, module } }).outputText
}

for (const name of readdirSync(join(PROJECT, 'docs')).filter(file => file.endsWith('.md'))) {
  const text = readFileSync(join(PROJECT, 'docs', name), 'utf8')
  const blocks = [...text.matchAll(/^```(?:js|ts)\n([\s\S]*?)^```$/gm)].map(([, block]) => block)
  if (blocks.length === 0) continue
  describe(`docs/${name}`, () => {
    for (const [i, block] of blocks.entries()) {
      test(`code block ${i + 1} runs, and asserts nothing in vain`, async () => {
        const words = ['--input-type=module', '-e', compiled(block ?? '')]
        const { stderr } = await promisify(execFile)(process.execPath, words, { cwd: PROJECT, env })
        expect(stderr).toBe('')
      })
    }
  })
}
