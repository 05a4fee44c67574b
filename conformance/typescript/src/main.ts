// One process for the whole suite: its parts share the installation, and one of them fills it with thousands of tokens.
import './lifecycle.js';
import './refusal.js';
import './caller.js';
import './paging.js';
