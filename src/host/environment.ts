/** The environment of a program that is to be a process of a domain of the host in a directory. */
export function hostEnvironment(
  directory: string,
  domid: number,
  base: Readonly<Record<string, string | undefined>> = process.env,
): Record<string, string | undefined> {
  return {
    ...base,
    INTERDOM_PLATFORM: 'host',
    INTERDOM_HOST: directory,
    INTERDOM_DOMID: String(domid),
  }
}
