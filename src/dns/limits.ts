/** Every limit of the resolver, in one place. Times in milliseconds, sizes in bytes. */
export const limits = {
  /** Seconds for which an answer about a container may be kept. Short, because containers come and go; not 0, because some libraries ask again for each connection. */
  ttlSeconds: 5,
  /** RFC 1035 4.2.1: what a client without EDNS takes. */
  udpPlain: 512,
  /** What we say we take, in our OPT records. Loopback carries any size; 4096 is what resolvers commonly announce. */
  udpPayload: 4096,
  maxMessage: 65_535,
  /** Names pointing at more addresses than this are answered in part (rotated). */
  maxAddresses: 256,
  inFlight: 1024,
  /** Up to so many under way, datagrams are not gathered but sent at once. */
  quietInFlight: 2,
  inFlightPerSandbox: 256,
  /** Clients waiting for one forwarded question. */
  waitersPerQuery: 256,
  /** glibc gives up after 5 s and asks again: our last word must come before that. */
  queryDeadlineMs: 4500,
  /** Without an answer for so long, the next upstream is asked as well. */
  attemptMs: 1200,
  attempts: 6,
  tickMs: 50,
  upstreamsRemembered: 4096,
  maxUpstreams: 8,
  /** An upstream that did not answer is asked last for so long. */
  upstreamPenaltyMs: 10_000,
  /** Sockets per upstream, each on a random port; remade after so many queries. */
  upstreamSockets: 8,
  upstreamSocketQueries: 4096,
  upstreamSocketIdleMs: 30_000,
  tcpUpstreamConnections: 64,
  tcpConnectionsPerSandbox: 128,
  tcpIdleMs: 10_000,
  tcpPipelined: 128,
  tcpWriteBuffer: 262_144,
  /** Names of endpoints that went away are known for so long, so that they are not asked upstream. */
  formerNames: 10_000,
  formerNameMs: 600_000,
} as const;
