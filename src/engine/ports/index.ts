export type { PortTarget } from "./relay.js";
export { PortReservations } from "./reservations.js";
