// Stands in for Prefactor's command line, which no registry has: its commands, requests, output and exit statuses, over
// the HTTP client that it is built on.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { parseArgs } from 'node:util';
import { HttpClient, HttpClientError } from '@prefactor/core';
import { isPfid } from '@prefactor/pfid';

const PROFILES = 'prefactor.json';
const OPTIONS = [
  'account_id', 'agent_id', 'api-token', 'api-url', 'count', 'description', 'email', 'environment_id', 'expires_at', 'id',
  'items', 'job_title', 'name', 'profile', 'profile_completed_at', 'token_scope',
];
const RETRIED = [429, ...Array.from({ length: 100 }, (_, index) => 500 + index)];

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: Object.fromEntries(OPTIONS.map((name) => [name, { type: 'string' }])),
});

function connect({ base_url, api_key }) {
  const client = new HttpClient({
    apiUrl: base_url,
    apiToken: api_key,
    requestTimeout: 10_000,
    maxRetries: 2,
    initialRetryDelay: 250,
    maxRetryDelay: 2_000,
    retryMultiplier: 2,
    retryOnStatusCodes: RETRIED,
  });
  const headers = { 'X-Prefactor-SDK': '@prefactor/cli@0.2.0 @prefactor/core@0.4.3' };
  return (method, path, body) => client.request(`/api/v1${path}`, { method, body, headers });
}

// Profiles lie beside the work; the environment counts only where nobody chose a profile and none is the default one.
const profiles = existsSync(PROFILES) ? JSON.parse(readFileSync(PROFILES, 'utf8')) : {};

const save = (all) => writeFileSync(PROFILES, JSON.stringify(all, null, 2), { mode: 0o600 });

function chosen() {
  const named = options.profile ?? process.env.PREFACTOR_PROFILE;
  const profile = profiles[named ?? 'default'];
  if (profile) return profile;
  const { PREFACTOR_API_TOKEN: api_key, PREFACTOR_API_URL: base_url } = process.env;
  if (!named && api_key) return { api_key, base_url: base_url ?? 'https://app.prefactorai.com' };
  throw new Error(`No profile found for '${named ?? 'default'}'.`);
}

const request = (...call) => connect(chosen())(...call);

function need(name) {
  if (!options[name]?.trim()) throw new Error(`required option '--${name}' not specified`);
  return options[name];
}

// The options of these names that were given, trimmed; empty ones are left out.
function given(...names) {
  return Object.fromEntries(names.map((name) => [name, options[name]?.trim()]).filter(([, value]) => value));
}

function query(...names) {
  const search = new URLSearchParams(given(...names)).toString();
  return search && `?${search}`;
}

function checkId() {
  if (options.id && !isPfid(options.id)) throw new Error('--id must be a valid Prefactor ID.');
}

async function remove(path) {
  await request('DELETE', path);
  return { ok: true };
}

async function createToken(send, details) {
  const { details: shown, token } = await send('POST', '/api_token', { details });
  return { details: { ...shown, token } };
}

function tokenDetails() {
  const scope = need('token_scope');
  if (!['account', 'agent_deployment'].includes(scope)) throw new Error(`Invalid --token_scope '${scope}'.`);
  if (scope === 'agent_deployment') {
    need('agent_id');
    need('environment_id');
  } else if (options.agent_id || options.environment_id) {
    throw new Error('--agent_id and --environment_id belong to agent_deployment tokens.');
  }
  return { token_scope: scope, ...given('account_id', 'agent_id', 'environment_id', 'expires_at') };
}

// Makes sure that the agent is deployed, and prints what a program needs to run as that deployment.
async function setup(agent) {
  const profile = chosen();
  const send = connect(profile);
  await send('GET', `/agent/${agent}`);
  const items = (list) => list.details ?? list.summaries ?? [];
  const deployments = items(await send('GET', `/agent_deployment?${new URLSearchParams({ agent_id: agent })}`));
  let deployment = deployments.length === 1 ? deployments[0] : deployments.find((one) => one.current_version_id !== null);
  if (deployments.length === 0) {
    const [account] = items(await send('GET', '/account'));
    const [environment] = items(await send('GET', `/environment?${new URLSearchParams({ account_id: account.id })}`));
    const details = { agent_id: agent, environment_id: environment.id };
    deployment = (await send('POST', '/agent_deployment', { details })).details;
  }
  if (!deployment) throw new Error(`Unable to choose an agent deployment for '${agent}'.`);
  const { environment_id } = deployment;
  const { details } = await createToken(send, { token_scope: 'agent_deployment', agent_id: agent, environment_id });
  return [
    `PREFACTOR_API_URL=${profile.base_url}`, `PREFACTOR_API_TOKEN=${details.token}`, `PREFACTOR_AGENT_ID=${agent}`,
    'PREFACTOR_AGENT_IDENTIFIER=1.0.0',
  ].join('\n');
}

async function login() {
  const base_url = profiles.default?.base_url ?? options['api-url'];
  console.log(`Opening your browser to: ${base_url.replace(/\/+$/, '')}/cli/connect`);
  const lines = createInterface({ input: process.stdin });
  const api_key = (await lines.question('Paste your API token here: ')).trim();
  lines.close();
  if (!api_key) throw new Error('No API token provided. Please paste a valid token.');
  save({ ...profiles, default: { api_key, base_url } });
  return "Authentication successful. Credentials saved to the 'default' profile.";
}

const commands = {
  ping: () => {
    const profile = options['api-token'] ? { api_key: options['api-token'], base_url: options['api-url'] } : chosen();
    return connect(profile)('GET', '/ping');
  },
  login,
  setup,
  'profiles add': (name, base_url) => {
    save({ ...profiles, [name]: { api_key: need('api-token'), base_url: new URL(base_url) && base_url } });
    return `Profile '${name}' saved.`;
  },
  'profiles remove': (name) => {
    const { [name]: gone, ...left } = profiles;
    save(left);
    return `Profile '${name}' ${gone ? 'removed' : 'not found'}.`;
  },
  'accounts list': () => request('GET', '/account'),
  'accounts retrieve': (id) => request('GET', `/account/${id}`),
  'accounts update': (id) => request('PUT', `/account/${id}`, { details: given('name') }),
  'environments list': () => need('account_id') && request('GET', `/environment${query('account_id')}`),
  'environments retrieve': (id) => request('GET', `/environment/${id}`),
  'environments create': () => {
    checkId();
    return request('POST', '/environment', { details: { name: need('name'), account_id: need('account_id'), ...given('id') } });
  },
  'environments update': (id) => request('PUT', `/environment/${id}`, { details: given('name') }),
  'environments delete': (id) => remove(`/environment/${id}`),
  'agents list': () => request('GET', `/agent${query('account_id', 'environment_id')}`),
  'agents retrieve': (id) => request('GET', `/agent/${id}`),
  'agents create': () => {
    checkId();
    const details = { name: need('name'), ...given('account_id', 'environment_id', 'description', 'id') };
    return request('POST', '/agent', { details });
  },
  'agents update': (id) => request('PUT', `/agent/${id}`, { details: given('name', 'description') }),
  'agents delete': (id) => remove(`/agent/${id}`),
  'agent_deployments list': () => need('agent_id') && request('GET', `/agent_deployment${query('agent_id')}`),
  'agent_deployments retrieve': (id) => request('GET', `/agent_deployment/${id}`),
  'agent_deployments create': () =>
    request('POST', '/agent_deployment', { details: { agent_id: need('agent_id'), environment_id: need('environment_id') } }),
  'agent_deployments delete': (id) => remove(`/agent_deployment/${id}`),
  'admin_users list': () => request('GET', `/admin_user${query('account_id')}`),
  'admin_users retrieve': (id) => request('GET', `/admin_user/${id}`),
  'admin_users update': (id) =>
    request('PUT', `/admin_user/${id}`, { details: given('name', 'job_title', 'profile_completed_at') }),
  'admin_user_invites list': () => request('GET', `/admin_user_invite${query('account_id')}`),
  'admin_user_invites retrieve': (id) => request('GET', `/admin_user_invite/${id}`),
  'admin_user_invites create': () =>
    request('POST', '/admin_user_invite', { details: { email: need('email'), ...given('account_id') } }),
  'admin_user_invites revoke': (id) => request('POST', `/admin_user_invite/${id}/revoke`, {}),
  'api_tokens list': () => request('GET', `/api_token${query('account_id')}`),
  'api_tokens retrieve': (id) => request('GET', `/api_token/${id}`),
  'api_tokens create': () => createToken(request, tokenDetails()),
  'api_tokens suspend': (id) => request('POST', `/api_token/${id}/suspend`, {}),
  'api_tokens activate': (id) => request('POST', `/api_token/${id}/activate`, {}),
  'api_tokens revoke': (id) => request('POST', `/api_token/${id}/revoke`, {}),
  'api_tokens delete': (id) => remove(`/api_token/${id}`),
  'pfid generate': () => request('POST', '/pfid/generate', { count: Number(options.count ?? 1), ...given('account_id') }),
  'bulk execute': () => request('POST', '/bulk', { items: JSON.parse(need('items')) }),
};

try {
  const name = positionals.slice(0, positionals[0] in commands ? 1 : 2).join(' ');
  const command = commands[name];
  if (!command) throw new Error(`unknown command '${name}'`);
  const said = await command(...positionals.slice(name.split(' ').length));
  console.log(typeof said === 'string' ? said : JSON.stringify(said, null, 2));
} catch (error) {
  console.error(error.message);
  if (error instanceof HttpClientError && error.responseBody != null) {
    console.error(typeof error.responseBody === 'string' ? error.responseBody : JSON.stringify(error.responseBody, null, 2));
  }
  process.exitCode = 1;
}
