import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** A block of code in a document. */
export interface Block {
  /** The document, from the root of the repository. */
  readonly document: string
  /** The line in it where the code begins, from 1. */
  readonly line: number
  /** The first word behind the fence; `indented` for a block without one. */
  readonly language: string
  /** The second word: the file that the block is, for blocks that name each other. */
  readonly name: string | undefined
  readonly code: string
}

/** Every Markdown file that belongs to the repository. */
export function documents(): string[] {
  const words = ['ls-files', '--cached', '--others', '--exclude-standard', '--', '*.md']
  const listed = execFileSync('git', words, { encoding: 'utf8' }).split('\n')
  return [...new Set(listed)].filter(Boolean).sort()
}

export function blocksOf(document: string): Block[] {
  return parseBlocks(document, readFileSync(document, 'utf8'))
}

/** Fenced blocks and, as a mistake to be told, blocks that are only indented. */
export function parseBlocks(document: string, text: string): Block[] {
  const lines = text.split('\n')
  const blocks: Block[] = []
  let isInList = false
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] ?? ''
    const fence = /^( *)(`{3,}|~{3,})(.*)$/.exec(line)
    const isCode = /^ {4}/.test(line) && !isInList && (lines[i - 1] ?? '').trim() === ''
    if (!fence && !isCode) {
      if (/^\S/.test(line)) isInList = /^([-*+]|\d+\.) /.test(line)
      continue
    }
    const start = fence ? i + 1 : i
    const isOver = fence
      ? (other: string) => other.trim().startsWith(fence[2] ?? '')
      : (other: string) => other !== '' && !/^ {4}/.test(other)
    let end = start
    while (end < lines.length && !isOver(lines[end] ?? '')) end++
    const margin = fence ? (fence[1] ?? '').length : 4
    const code = lines.slice(start, end).map(one => one.slice(margin))
    const [language = '', name] = fence ? (fence[3] ?? '').trim().split(/\s+/) : ['indented']
    blocks.push({ document, line: start + 1, language, name, code: code.join('\n').trimEnd() })
    i = fence ? end : end - 1
  }
  return blocks
}

/** Targets of links and pictures, without what is fenced. */
export function linksOf(document: string): string[] {
  const text = readFileSync(document, 'utf8').replace(/^ *(`{3,})[\s\S]*?^ *\1/gm, '')
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? '')
}
