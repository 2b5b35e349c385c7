// A real provider of identities, panva's `oidc-provider`, with one client and people whose groups are their names' first part.
// node provider.mjs PORT REDIRECT; finds the package by NODE_PATH's stand-in: the folder that it is started in.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [port, redirect] = process.argv.slice(2);
const found = createRequire(`${process.cwd()}/`).resolve('oidc-provider');
const { Provider } = await import(pathToFileURL(found));
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: 'outward', client_secret: 'a secret of the test', redirect_uris: [redirect] }],
  claims: { openid: ['sub'], email: ['email'], groups: ['groups'] },
  conformIdTokenClaims: false, // what scopes ask for stands in the ID token, as most providers have it
  pkce: { required: () => true },
  cookies: { keys: ['a key of the test'] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, groups: id.split('-').slice(1) }),
  }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
