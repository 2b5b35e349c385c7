// Sends fetch() through the proxy where Node itself cannot: releases that do not know --use-env-proxy.
// `outward run` preloads it with NODE_OPTIONS; it costs nothing until the first fetch, and does nothing on newer releases.
'use strict';

const proxyUrl = process.env.HTTPS_PROXY;
const native = globalThis.fetch;

if (proxyUrl && native && !process.allowedNodeEnvironmentFlags.has('--use-env-proxy')) {
  globalThis.fetch = function fetch(...args) {
    globalThis.fetch = native;
    install(new URL(proxyUrl));
    return native(...args);
  };
}

function install(proxy) {
  native('data:,').catch(() => {}); // makes Node load its fetch, and with it the dispatcher whose class is borrowed
  const key = Symbol.for('undici.globalDispatcher.1');
  const Agent = globalThis[key].constructor;
  const user = [proxy.username, proxy.password].map(decodeURIComponent).join(':');
  const credentials = user === ':' ? {} : { 'proxy-authorization': `Basic ${Buffer.from(user).toString('base64')}` };
  const direct = new Agent();

  class Through extends Agent {
    dispatch(options, handler) {
      const origin = new URL(options.origin);
      if (exempt(origin.hostname)) return direct.dispatch(options, handler);
      if (origin.protocol === 'https:') return super.dispatch(options, handler);
      const headers = { host: origin.host, ...asObject(options.headers), ...credentials };
      return direct.dispatch({ ...options, origin: proxy.origin, path: origin.origin + options.path, headers }, handler);
    }
  }
  globalThis[key] = new Through({ connect: (target, done) => connect(proxy, credentials, target, done) });
}

function connect(proxy, headers, target, done) {
  const host = target.hostname.includes(':') ? `[${target.hostname}]` : target.hostname;
  const path = `${host}:${target.port || 443}`;
  const request = require('node:http').request({
    host: proxy.hostname, port: proxy.port, method: 'CONNECT', path, headers: { host: path, ...headers }, agent: false,
  });
  request.once('connect', (response, socket) => {
    if (response.statusCode !== 200) {
      socket.destroy();
      const why = `${response.statusCode} ${response.statusMessage} (${response.headers['proxy-status'] || path})`;
      return done(new Error(`proxy refused ${path}: ${why}`));
    }
    const tls = require('node:tls').connect({
      ...target, socket, servername: target.servername || target.hostname, ALPNProtocols: ['http/1.1'],
    });
    tls.once('secureConnect', () => done(null, tls)).once('error', done);
  });
  request.once('error', done).end();
}

function exempt(hostname) {
  const list = (process.env.NO_PROXY || '').split(',').map((entry) => entry.trim()).filter(Boolean);
  return list.includes(hostname.replace(/^\[|\]$/g, ''));
}

function asObject(headers) {
  if (!Array.isArray(headers)) return headers || {};
  const found = {};
  for (let i = 0; i < headers.length; i += 2) found[String(headers[i])] = String(headers[i + 1]);
  return found;
}
