/**
 * The admin port: a live page, metrics, and probes for a load balancer.
 *
 * @module
 */

export { type AdminOptions, type AdminServer, serveAdmin } from "./server.ts";
export type { AdminSource } from "../observe/numbers.ts";
export { PROMETHEUS_TYPE, prometheusText } from "../observe/prometheus.ts";
