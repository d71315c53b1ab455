import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Block, blocksOf, documents, linksOf, parseBlocks } from './blocks.ts'
import { NOT_RUN } from './not-run.ts'
import { Workshop } from './workshop.ts'

/** What a block can be: `text` is drawn or printed, the others are run. */
const LANGUAGES = ['ts', 'js', 'sh', 'text']
const RUN_WITHIN_MS = 300_000

const all = documents()
const blocks = all.flatMap(blocksOf)
const isExcused = (block: Block): boolean =>
  NOT_RUN.some(one => one.document === block.document && one.code === block.code)
/** A block that bears the name of a file of the repository is an excerpt of it. */
const isExcerpt = ({ name }: Block): boolean => name !== undefined && existsSync(name)
const run = blocks
  .filter(({ language }) => ['ts', 'js', 'sh'].includes(language))
  .filter(block => !isExcused(block) && !isExcerpt(block))

describe('the documents', () => {
  test('have blocks of known languages only', () => {
    const unknown = blocks
      .filter(block => !LANGUAGES.includes(block.language) && !isExcused(block))
      .map(({ document, line, language }) => `${document}:${line}: '${language}'`)
    expect(unknown).toEqual([])
  })

  test('link to what is there', () => {
    const dead = all.flatMap(document =>
      linksOf(document)
        .filter(target => !/^(https?:|#)/.test(target))
        .filter(target => !existsSync(join(dirname(document), target.replace(/#.*/, ''))))
        .map(target => `${document}: ${target}`),
    )
    expect(dead).toEqual([])
  })

  test('link to each page of docs from README or from a page beside it', () => {
    const linked = new Set(
      all.flatMap(document => linksOf(document).map(target => join(dirname(document), target))),
    )
    const lost = all.filter(document => document.startsWith('docs/') && !linked.has(document))
    expect(lost).toEqual([])
  })
})

test('an excerpt stands in its file', () => {
  const plain = (text: string): string => text.replaceAll(/^ +/gm, '')
  const wrong = blocks
    .filter(isExcerpt)
    .filter(({ name = '', code }) => !plain(readFileSync(name, 'utf8')).includes(plain(code)))
  expect(wrong).toEqual([])
})

describe('the list of blocks that are not run', () => {
  test('names blocks that exist', () => {
    const gone = NOT_RUN.filter(
      one => !blocks.some(({ document, code }) => document === one.document && code === one.code),
    )
    expect(gone).toEqual([])
  })

  test('names a file that runs each instead', () => {
    const wrong = NOT_RUN.filter(({ ranBy: { file, saying } }) => {
      return !existsSync(file) || !readFileSync(file, 'utf8').includes(saying)
    })
    expect(wrong).toEqual([])
  })
})

describe('each block', () => {
  let workshop: Workshop
  beforeAll(() => {
    workshop = new Workshop()
    for (const block of run) if (block.language !== 'sh') workshop.place(block)
  })
  afterEach(() => workshop.tidy())
  afterAll(() => workshop.close())

  test('of TypeScript has the types of the API', async () => {
    expect(await workshop.checkTypes()).toMatchObject({ exitCode: 0, output: '' })
  })

  for (const block of run) {
    test(
      `of ${block.document}:${block.line} runs`,
      async () => {
        const { exitCode, signal, output, errors } = await workshop.run(block)
        expect({ exitCode, signal }, output + errors).toEqual({ exitCode: 0, signal: null })
        // What console.assert found wrong, and warnings, do not end a program.
        if (block.language !== 'sh') expect(errors).toBe('')
      },
      RUN_WITHIN_MS,
    )
  }
})

test('blocks are found by their fences, with their place and what they are', () => {
  const lines = ['a', '', '```ts one.ts', 'x', '', 'y', '```', '- b', '  ```sh', '  z', '  ```']
  const found = parseBlocks('a.md', [...lines, '', 'c', '', '    indented', '', 'd'].join('\n'))
  expect(found.map(({ line, language, name, code }) => [line, language, name, code])).toEqual([
    [4, 'ts', 'one.ts', 'x\n\ny'],
    [10, 'sh', undefined, 'z'],
    [15, 'indented', undefined, 'indented'],
  ])
})
