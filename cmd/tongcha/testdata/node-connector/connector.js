// A connector in Node, written from connector.proto and nothing else of Tongcha:
// a platform that keeps its accounts in a JSON file and unbinds at once.
//
//   node connector.js --proto connector.proto --certs DIR --accounts FILE
//                     [--platform ID] [--port 0] [--state FILE]
//
// DIR holds cert.pem, key.pem and ca.pem, as `tongcha platform cert` writes
// them. FILE is [{"phone", "ref", "product", "boundAt"}, …]; it is only read.
// What was unbound is kept in the state file, FILE.state.json unless named.
// Each argument can be given as TONGCHA_NODE_PROTO, TONGCHA_NODE_CERTS, … too.
//
// It prints "listening 127.0.0.1:PORT" when it is ready, and nothing about
// anybody, ever.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const tls = require('node:tls');
const { parseArgs } = require('node:util');

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

// The contract asks for TLS 1.3, and grpc-js leaves the version to Node.
tls.DEFAULT_MIN_VERSION = 'TLSv1.3';

const MAX_BATCH = 64;
const MAX_ACCOUNTS = 50;
const PHONE = /^\+861[3-9]\d{9}$/;
const SPIFFE = /^spiffe:\/\/([a-z0-9._-]+)\/([a-z]+)\/([A-Za-z0-9._-]+)$/;

// failure makes an error that grpc-js sends with its code. Texts name a field,
// never a value.
function failure(code, details) {
  return Object.assign(new Error(details), { code, details });
}

const invalid = (details) => failure(grpc.status.INVALID_ARGUMENT, details);

// --- times -----------------------------------------------------------------

// millis reads "2020-01-02T03:04:05+08:00", or a bare date as 00:00 in Shanghai.
function millis(text) {
  const t = Date.parse(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00+08:00` : text);
  if (Number.isNaN(t)) throw new Error('a boundAt is no time');
  return t;
}

const fromTimestamp = (ts) => Number(ts.seconds) * 1000 + ts.nanos / 1e6;

const toTimestamp = (ms) => ({
  seconds: Math.floor(ms / 1000),
  nanos: (ms - Math.floor(ms / 1000) * 1000) * 1e6,
});

// --- accounts and orders ---------------------------------------------------

// readJSON names the file in its error, but none of what it holds.
function readJSON(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    throw new Error(`${file}: ${error.code ?? 'not valid JSON'}`);
  }
}

// Store is the platform's own data: accounts by number, orders by id. A change
// is on disk before anybody hears of it.
class Store {
  constructor(accountsFile, stateFile) {
    this.stateFile = stateFile;
    this.state = { removed: [], orders: {} };
    if (fs.existsSync(stateFile)) this.state = readJSON(stateFile);
    const removed = new Set(this.state.removed);
    this.byPhone = new Map();
    readJSON(accountsFile).forEach((row, i) => {
      const account = Store.read(row, i);
      if (removed.has(account.key)) return;
      this.byPhone.set(account.phone, [...this.accounts(account.phone), account]);
    });
  }

  // read checks one row. Its error names the row by its place.
  static read(row, i) {
    const phone = String(row.phone ?? '').replace(/^(\+86)?/, '+86');
    const fits = PHONE.test(phone) && /^[\x21-\x7e]{1,64}$/.test(row.ref ?? '');
    if (!fits) throw new Error(`accounts: row ${i + 1}: want a phone and a ref of 1 to 64 printable ASCII characters`);
    const boundAt = row.boundAt ? millis(row.boundAt) : undefined;
    return {
      phone,
      ref: row.ref,
      product: row.product ?? '',
      boundAt,
      // The same account bound again later is another binding.
      key: `${phone} ${row.ref} ${boundAt ?? ''}`,
    };
  }

  accounts(phone) {
    return this.byPhone.get(phone) ?? [];
  }

  products() {
    const all = [...this.byPhone.values()].flat().map((a) => a.product);
    return [...new Set(all)].filter(Boolean).slice(0, 32);
  }

  order(id) {
    return Object.hasOwn(this.state.orders, id) ? this.state.orders[id] : undefined;
  }

  // finish records an order together with the accounts it detached.
  finish(id, order, detached) {
    const next = {
      removed: [...this.state.removed, ...detached.map((a) => a.key)],
      orders: { ...this.state.orders, [id]: order },
    };
    this.write(next);
    this.state = next;
    this.byPhone.set(order.phone, this.accounts(order.phone).filter((a) => !detached.includes(a)));
  }

  // write replaces the state file; after a crash it is the old one or the new.
  write(state) {
    const temporary = `${this.stateFile}.tmp`;
    const file = fs.openSync(temporary, 'w', 0o600);
    try {
      fs.writeFileSync(file, JSON.stringify(state));
      fs.fsyncSync(file);
    } finally {
      fs.closeSync(file);
    }
    fs.renameSync(temporary, this.stateFile);
    const directory = fs.openSync(path.dirname(this.stateFile), 'r');
    try {
      fs.fsyncSync(directory);
    } finally {
      fs.closeSync(directory);
    }
  }
}

// --- the methods -----------------------------------------------------------

function describe(store, platformId) {
  return {
    platform_id: platformId,
    products: store.products(),
    functions: ['FUNCTION_LOOKUP', 'FUNCTION_UNBIND'],
    unbind_mode: 'UNBIND_MODE_SYNC',
    max_batch: MAX_BATCH,
    protocol_version: '1.0',
  };
}

function lookupBindings(store, request) {
  const { subjects } = request;
  if (subjects.length < 1 || subjects.length > MAX_BATCH) throw invalid(`subjects: want 1 to ${MAX_BATCH}`);
  const seen = new Set();
  subjects.forEach((subject, i) => {
    const ref = subject.subject_ref.toString('hex');
    if (ref.length !== 32 || seen.has(ref)) throw invalid(`subjects[${i}].subject_ref: want 16 bytes of its own`);
    if (!PHONE.test(subject.phone_number)) throw invalid(`subjects[${i}].phone_number: want E.164`);
    seen.add(ref);
  });
  return { answers: subjects.map((subject) => answer(store, subject)) };
}

function answer(store, subject) {
  const accounts = store.accounts(subject.phone_number).slice(0, MAX_ACCOUNTS);
  return {
    subject_ref: subject.subject_ref,
    state: accounts.length > 0 ? 'BINDING_STATE_BOUND' : 'BINDING_STATE_NOT_BOUND',
    answer_time: toTimestamp(Date.now()),
    accounts: accounts.map((a) => ({
      account_ref: a.ref,
      product: a.product,
      period: period(a, subject.holder_since),
    })),
  };
}

function period(account, holderSince) {
  if (!holderSince || account.boundAt === undefined) return 'ACCOUNT_PERIOD_UNKNOWN';
  return account.boundAt < fromTimestamp(holderSince)
    ? 'ACCOUNT_PERIOD_BEFORE_HOLDER'
    : 'ACCOUNT_PERIOD_SINCE_HOLDER';
}

// requestUnbind has one effect per order: a repeat finds the order and returns
// what became of it.
function requestUnbind(store, request) {
  checkOrder(request);
  const known = store.order(request.order_id);
  if (known) {
    if (known.phone !== request.phone_number) {
      throw failure(grpc.status.ALREADY_EXISTS, 'order_id: known with another number');
    }
    return { result: result(known) };
  }
  const named = store.accounts(request.phone_number).filter((a) => request.account_refs.includes(a.ref));
  const isProtected = (a) =>
    request.bound_before && !(a.boundAt !== undefined && a.boundAt < fromTimestamp(request.bound_before));
  const refused = named.some(isProtected);
  const order = {
    phone: request.phone_number,
    state: refused ? 'UNBIND_STATE_REFUSED' : 'UNBIND_STATE_COMPLETED',
    time: Date.now(),
  };
  store.finish(request.order_id, order, refused ? [] : named);
  return { result: result(order) };
}

function checkOrder(request) {
  if (!/^[0-9A-Za-z_-]{26}$/.test(request.order_id)) throw invalid('order_id: want 26 characters');
  if (!PHONE.test(request.phone_number)) throw invalid('phone_number: want E.164');
  const refs = request.account_refs.length;
  if (refs < 1 || refs > MAX_ACCOUNTS) throw invalid(`account_refs: want 1 to ${MAX_ACCOUNTS}`);
}

function getUnbind(store, request) {
  const order = store.order(request.order_id);
  if (!order) throw failure(grpc.status.NOT_FOUND, 'order_id: no such order');
  return { result: result(order) };
}

function result(order) {
  const refused = order.state === 'UNBIND_STATE_REFUSED';
  return {
    state: order.state,
    refusal_reason: refused ? 'REFUSAL_REASON_BOUND_AFTER_HOLDER' : 'REFUSAL_REASON_UNSPECIFIED',
    refusal_text: refused ? '账号绑定时间不早于现机主入网时间' : '',
    state_time: toTimestamp(order.time),
  };
}

// --- who calls, and who we are ---------------------------------------------

// identity reads the one URI SAN of a certificate; undefined unless it is a
// SPIFFE id of the form trust domain, role, id. Node quotes a name that holds a
// comma, so a name can't pass itself off as two.
function identity(certificate) {
  const names = (certificate.subjectAltName ?? '').split(', ').filter((n) => n.startsWith('URI:'));
  const match = names.length === 1 ? SPIFFE.exec(names[0].slice('URI:'.length)) : null;
  return match ? { domain: match[1], role: match[2], id: match[3] } : undefined;
}

// isHub tells whether the caller is a hub of our own trust domain. The TLS layer
// has checked its chain already.
function isHub(call, own) {
  const raw = call.getAuthContext()?.sslPeerCertificate?.raw;
  const peer = raw && identity(new crypto.X509Certificate(raw));
  return Boolean(peer) && peer.role === 'hub' && peer.domain === own.domain;
}

// unary makes a handler of a function from request to response.
function unary(own, method) {
  return (call, done) => {
    try {
      if (!isHub(call, own)) throw failure(grpc.status.PERMISSION_DENIED, 'the caller is not our hub');
      done(null, method(call.request));
    } catch (error) {
      // The text of an unforeseen error may hold data: it goes nowhere.
      done(error.details ? error : failure(grpc.status.INTERNAL, 'internal error'));
    }
  };
}

// --- the process -----------------------------------------------------------

function options() {
  const names = ['proto', 'certs', 'accounts', 'state', 'platform', 'port'];
  const { values } = parseArgs({ options: Object.fromEntries(names.map((n) => [n, { type: 'string' }])) });
  for (const name of names) values[name] ??= process.env[`TONGCHA_NODE_${name.toUpperCase()}`];
  for (const name of ['proto', 'certs', 'accounts']) {
    if (!values[name]) throw new Error(`--${name} is required`);
  }
  values.state ??= `${values.accounts}.state.json`;
  values.port ??= '0';
  if (!/^\d{1,5}$/.test(values.port) || Number(values.port) > 65535) throw new Error('--port is no port');
  return values;
}

function service(protoFile) {
  const definition = protoLoader.loadSync(path.resolve(protoFile), {
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
  });
  return grpc.loadPackageDefinition(definition).tongcha.connector.v1.ConnectorService.service;
}

function credentials(directory) {
  const read = (name) => fs.readFileSync(path.join(directory, name));
  const certificate = read('cert.pem');
  const pair = { cert_chain: certificate, private_key: read('key.pem') };
  return {
    own: identity(new crypto.X509Certificate(certificate)),
    server: grpc.ServerCredentials.createSsl(read('ca.pem'), [pair], true),
  };
}

function main() {
  const opts = options();
  const { own, server: serverCredentials } = credentials(opts.certs);
  if (own?.role !== 'platform') throw new Error('cert.pem is no certificate of a platform');
  if (opts.platform && opts.platform !== own.id) throw new Error('--platform differs from the id in cert.pem');
  const store = new Store(opts.accounts, opts.state);

  // NotifyNumberEvents isn't offered; grpc-js answers UNIMPLEMENTED by itself.
  const server = new grpc.Server();
  server.addService(service(opts.proto), {
    Describe: unary(own, () => describe(store, own.id)),
    LookupBindings: unary(own, (request) => lookupBindings(store, request)),
    RequestUnbind: unary(own, (request) => requestUnbind(store, request)),
    GetUnbind: unary(own, (request) => getUnbind(store, request)),
  });
  server.bindAsync(`127.0.0.1:${opts.port}`, serverCredentials, (error, port) => {
    if (error) return fail(error);
    console.log(`listening 127.0.0.1:${port}`);
  });
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => server.tryShutdown(() => process.exit(0)));
  }
}

function fail(error) {
  console.error(`connector: ${error.message}`);
  process.exit(1);
}

try {
  main();
} catch (error) {
  fail(error);
}
