import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

/**
 * The house rules that a machine can check. A file breaks one: change the file. A rule is in the
 * way: change it here, and say why in docs/decisions.
 */

/** From the bottom up; what stands in one line may not import each other. */
const LEVELS = [
  ['abi'],
  ['base'],
  ['native'],
  ['memory'],
  ['platform.ts'],
  ['hypervisor'],
  ['kernel'],
  ['sim', 'host', 'linux'],
  ['refusals.ts'],
  ['device-call.ts'],
  ['grant', 'evtchn'],
  ['connection.ts', 'platform-choice.ts'],
  ['connect.ts'],
  ['index.ts', 'start-host.ts'],
  ['testbed'],
  ['conformance'],
  ['differential'],
  ['cli'],
] as const

const FILE_LINES_MAX = 400
const FUNCTION_LINES_MAX = 70
const LINE_LENGTH_MAX = 100

/** What only certain rooms may say, with the reason that a person is told. */
const BANS: readonly { what: RegExp; rooms: readonly string[]; why: string }[] = [
  { what: /\bkoffi\b/, rooms: ['native', 'cli', 'testbed', 'conformance'], why: 'koffi: native' },
  { what: /\bAtomics\./, rooms: ['memory'], why: 'Atomics: only memory' },
  { what: /\bnew DataView\b/, rooms: ['abi', 'memory'], why: 'DataView: only abi and memory' },
  {
    what: /\bDate\.now\b|\bMath\.random\b|\bnew Date\b|\bperformance\.now\b/,
    rooms: ['host', 'linux', 'cli', 'testbed', 'conformance', 'differential'],
    why: 'time and randomness are injected',
  },
  {
    what: /\bconsole\./,
    rooms: ['cli', 'host', 'conformance', 'differential'],
    why: 'a library does not log',
  },
]

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  encoding: 'utf8',
})
  .split('\n')
  .filter(path => /\.(ts|mjs)$/.test(path) && !path.startsWith('node_modules/'))
const sources = files.filter(path => path.startsWith('src/'))

function roomOf(path: string): string {
  return path.split('/')[1] ?? ''
}

function levelOf(room: string): number {
  return LEVELS.findIndex(level => (level as readonly string[]).includes(room))
}

function text(path: string): string {
  return readFileSync(path, 'utf8')
}

/** Without comments and strings, where a word is only spoken of. */
function code(path: string): string {
  return text(path)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\/\/.*$/gm, '')
    .replace(/`(?:\\.|[^`\\])*`|'(?:\\.|[^'\\\n])*'/g, "''")
}

function importsOf(path: string): string[] {
  const found = text(path).matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)
  return [...found].map(([, target]) => normalize(join(dirname(path), target ?? '')))
}

function parsed(path: string): ts.SourceFile {
  return ts.createSourceFile(path, text(path), ts.ScriptTarget.Latest, true)
}

describe('the rooms', () => {
  test('are all known, each with its level', () => {
    const unknown = sources.map(roomOf).filter(room => levelOf(room) < 0)
    expect([...new Set(unknown)]).toEqual([])
  })

  test('import strictly downwards', () => {
    const wrong = sources.flatMap(path =>
      importsOf(path)
        .filter(target => roomOf(target) !== roomOf(path))
        .filter(target => levelOf(roomOf(target)) >= levelOf(roomOf(path)))
        .map(target => `${path} imports ${target}`),
    )
    expect(wrong).toEqual([])
  })

  test('keep to what only they may say', () => {
    const wrong = sources.flatMap(path =>
      BANS.filter(({ what, rooms }) => !rooms.includes(roomOf(path)) && what.test(code(path))).map(
        ({ why }) => `${path}: ${why}`,
      ),
    )
    expect(wrong).toEqual([])
  })

  test('import koffi in native only', () => {
    const wrong = sources.filter(
      path =>
        roomOf(path) !== 'native' && /(?:from|import|require)\s*\(?\s*'koffi/.test(text(path)),
    )
    expect(wrong).toEqual([])
  })
})

describe('a file', () => {
  test('can be read in a sitting', () => {
    const long = files.filter(path => text(path).split('\n').length - 1 > FILE_LINES_MAX)
    expect(long).toEqual([])
  })

  test('has lines that fit', () => {
    // The formatter keeps what can be broken; a test's title, a sentence, cannot.
    const wide = [...sources, ...files.filter(path => /^(?:bench|scripts)\//.test(path))].flatMap(
      path =>
        text(path)
          .split('\n')
          .map((line, i) => ({ line, at: `${path}:${i + 1}` }))
          .filter(({ line }) => line.length > LINE_LENGTH_MAX)
          .map(({ at }) => at),
    )
    expect(wide).toEqual([])
  })

  test('is named in kebab-case', () => {
    const odd = files.filter(path => !/^(?:[a-z0-9.-]+\/)*[a-z0-9.-]+$/.test(path))
    expect(odd).toEqual([])
  })

  test('is reachable from an entry point, a program or a test', () => {
    const entries = files.filter(path => !path.startsWith('src/') || /-main\.ts$/.test(path))
    const reached = new Set<string>()
    const queue = [
      ...entries,
      ...[
        'index',
        'start-host',
        'sim/index',
        'conformance/index',
        'conformance/main',
        'differential/main',
        'cli/main',
      ].map(name => `src/${name}.ts`),
      ...spawned(),
    ]
    for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
      if (reached.has(path) || !files.includes(path)) continue
      reached.add(path)
      if (!path.startsWith('src/')) continue
      queue.push(...importsOf(path))
    }
    expect(sources.filter(path => !reached.has(path))).toEqual([])
  })
})

describe('a function', () => {
  test('fits a screen', () => {
    const long = sources.flatMap(path => {
      const file = parsed(path)
      const found: string[] = []
      const visit = (node: ts.Node): void => {
        if (ts.isFunctionLike(node) && 'body' in node && node.body) {
          const from = file.getLineAndCharacterOfPosition(node.getStart()).line
          const to = file.getLineAndCharacterOfPosition(node.end).line
          if (to - from + 1 > FUNCTION_LINES_MAX) found.push(`${path}:${from + 1}`)
        }
        ts.forEachChild(node, visit)
      }
      visit(file)
      return found
    })
    expect(long).toEqual([])
  })
})

describe('what is exported from an entry point', () => {
  test('has a doc comment', () => {
    const roots = [
      'src/index.ts',
      'src/start-host.ts',
      'src/sim/index.ts',
      'src/conformance/index.ts',
    ]
    const program = ts.createProgram(roots, {
      module: ts.ModuleKind.NodeNext,
      target: ts.ScriptTarget.ES2022,
      skipLibCheck: true,
      noEmit: true,
      allowImportingTsExtensions: true,
    })
    const checker = program.getTypeChecker()
    const bare = roots.flatMap(root => {
      const file = program.getSourceFile(root)
      const module = file && checker.getSymbolAtLocation(file)
      if (!module) throw new Error(`${root} exports nothing`)
      return checker
        .getExportsOfModule(module)
        .map(symbol =>
          symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
        )
        .filter(symbol => symbol.getDocumentationComment(checker).length === 0)
        .map(symbol => `${root}: ${symbol.name}`)
    })
    expect([...new Set(bare)]).toEqual([])
  })
})

/** Programs and workers that are named by a path and not imported. */
function spawned(): string[] {
  return sources.flatMap(path =>
    [...text(path).matchAll(/'(\.{1,2}\/[^']+)\.js'/g)].map(([, target]) =>
      normalize(`${join(dirname(path), target ?? '')}.ts`),
    ),
  )
}
