import { createReadStream } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'

/** One entry of the image's file system; a file's content is given or lies in a file. */
export type Entry =
  | { path: string; kind: 'folder' }
  | { path: string; kind: 'link'; target: string }
  | { path: string; kind: 'file'; mode: number; content: Uint8Array }
  | { path: string; kind: 'file'; mode: number; source: string }

const types = { folder: 0o040755, link: 0o120777, file: 0o100000 } as const
const alignment = 4

/**
 * A cpio header in the "newc" form, which the kernel unpacks
 * (Documentation/driver-api/early-userspace/buffer-format.rst): the magic, 13 numbers of eight
 * hexadecimal digits, the name with its zero, padded to four bytes.
 *
 *     magic ino mode uid gid nlink mtime size dev(2) rdev(2) namesize check
 */
export function cpioHeader(path: string, inode: number, mode: number, size: number): Buffer {
  const name = Buffer.from(`${path}\0`)
  const fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name.length, 0]
  const numbers = fields.map(field => field.toString(16).padStart(8, '0')).join('')
  const header = Buffer.concat([Buffer.from(`070701${numbers}`), name])
  return Buffer.concat([header, padding(header.length)])
}

/**
 * Writes an archive, everything owned by root and dated 0: equal inputs give equal bytes, and no
 * root rights are needed to make it.
 */
export async function writeArchive(path: string, entries: readonly Entry[]): Promise<void> {
  const file = await open(path, 'wx')
  try {
    let inode = 0
    for (const entry of entries) await writeEntry(file, entry, ++inode)
    await file.writeFile(cpioHeader('TRAILER!!!', 0, 0, 0))
  } finally {
    await file.close()
  }
}

async function writeEntry(file: FileHandle, entry: Entry, inode: number): Promise<void> {
  if (entry.kind === 'folder') {
    await file.writeFile(cpioHeader(entry.path, inode, types.folder, 0))
    return
  }
  if (entry.kind === 'file' && 'source' in entry) {
    const { size } = await stat(entry.source)
    await file.writeFile(cpioHeader(entry.path, inode, types.file | entry.mode, size))
    for await (const chunk of createReadStream(entry.source)) await file.writeFile(chunk as Buffer)
    await file.writeFile(padding(size))
    return
  }
  const content = entry.kind === 'link' ? Buffer.from(entry.target) : entry.content
  const mode = entry.kind === 'link' ? types.link : types.file | entry.mode
  await file.writeFile(cpioHeader(entry.path, inode, mode, content.length))
  await file.writeFile(content)
  await file.writeFile(padding(content.length))
}

function padding(length: number): Buffer {
  return Buffer.alloc((alignment - (length % alignment)) % alignment)
}
