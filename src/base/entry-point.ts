/**
 * Where a program to spawn lies: a worker or child must be compiled code, since Node 20 cannot run
 * the sources, while the test runner loads this very module from `src`. A module names its program
 * relative to itself, `entryPoint(import.meta.url, './server-main.js')`, and gets the one in
 * `dist`.
 */
export function entryPoint(moduleUrl: string, relative: string): URL {
  const url = new URL(relative, moduleUrl)
  if (moduleUrl.endsWith('.ts'))
    url.pathname = url.pathname.replace(/\/src\/(?!.*\/src\/)/, '/dist/')
  return url
}
