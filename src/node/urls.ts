/** Addresses of members: `http://host:port` or `https://host:port`, and nothing more. */
import { wrongFlag } from './errors.ts';

/** Throws a NodeError that names the flag and the URL. */
export function parseUrls(flag: string, text: string): string[] {
  return text.split(',').map((part) => {
    const url = URL.parse(part.trim());
    if (!url) throw wrongFlag(flag, `${JSON.stringify(part)} is not a URL such as https://host:port`);
    if (url.protocol !== 'http:' && url.protocol !== 'https:')
      throw wrongFlag(flag, `${part}: only http and https are spoken`);
    if (url.port === '')
      throw wrongFlag(flag, `${part}: the URL needs a port, and another than 80 for http and 443 for https`);
    if ((url.pathname !== '/' && url.pathname !== '') || url.search !== '' || url.username !== '') {
      throw wrongFlag(flag, `${part}: the URL must be ${url.protocol}//host:port and nothing more`);
    }
    return `${url.protocol}//${url.host}`;
  });
}

/** Addresses of a member, sorted. Throws what `parseUrls` does. */
export const memberUrls = (texts: readonly string[]): string[] => parseUrls('peer-urls', texts.join(',')).sort();

export const isSecure = (url: string): boolean => url.startsWith('https:');

/** Where to listen or to connect to. */
export function hostAndPort(text: string): { host: string; port: number } {
  const url = new URL(text);
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) };
}
