export { readSockaddr, sockaddrOf } from "./sockaddr.js";
