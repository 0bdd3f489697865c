// OpenTelemetry: a stand-in for a collector takes what the program exports.

import { loadTelemetry } from "../../lib/observe/otel.ts";
import { Peer } from "../support/fixtures.ts";
import { RunningServer, testWithTools } from "../support/programs.ts";
import { assertEquals } from "../support/std.ts";

/** A number as OTLP's JSON has it: 64-bit integers are strings. */
interface DataPoint {
  attributes: { key: string; value: { stringValue: string } }[];
  asInt?: string | number;
  asDouble?: number;
}

/** What of OTLP's metrics is looked at. */
interface MetricsData {
  resourceMetrics: {
    scopeMetrics: {
      scope: { name: string };
      metrics: {
        name: string;
        unit: string;
        sum?: { dataPoints: DataPoint[]; isMonotonic: boolean };
        gauge?: { dataPoints: DataPoint[] };
      }[];
    }[];
  }[];
}

/** Parley's metrics of one export: values by name, or by name and attribute. */
function valuesOf({ resourceMetrics }: MetricsData): Map<string, number> {
  const values = new Map<string, number>();
  for (const { scopeMetrics } of resourceMetrics) {
    for (const { scope, metrics } of scopeMetrics) {
      if (scope.name !== "parley") continue;
      for (const { name, sum, gauge } of metrics) {
        for (const point of (sum ?? gauge)!.dataPoints) {
          const [attribute] = point.attributes;
          const key = attribute === undefined
            ? name
            : `${name} ${attribute.key}=${attribute.value.stringValue}`;
          values.set(key, Number(point.asInt ?? point.asDouble));
        }
      }
    }
  }
  return values;
}

Deno.test("loadTelemetry loads nothing where no telemetry is exported", async () => {
  assertEquals(await loadTelemetry(), undefined);
});

testWithTools(
  "server exports its numbers by OpenTelemetry, without a permission for it",
  [],
  async () => {
    const exported = Promise.withResolvers<Map<string, number>>();
    await using collector = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      onListen() {},
    }, async (request) => {
      const body = await request.json();
      if (new URL(request.url).pathname === "/v1/metrics") {
        const values = valuesOf(body);
        if (values.get("parley.connections.closed reason=peer_closed") === 1) {
          exported.resolve(values);
        }
      }
      return Response.json({});
    });
    await using server = await RunningServer.start("deno run", [], {
      OTEL_DENO: "true",
      OTEL_DENO_CONSOLE: "ignore",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.addr.port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_METRIC_EXPORT_INTERVAL: "100",
    });
    using peer = await Peer.to(server);
    await peer.send("PING\nECHO hi\n");
    await peer.finish();
    assertEquals(await peer.rest(), "PONG\nhi\n");

    const values = await exported.promise;
    const expected: Record<string, number> = {
      "parley.ready": 1,
      "parley.connections.active": 0,
      "parley.connections.limit": 10_000,
      "parley.connections.opening": 0,
      "parley.memory.held": 0,
      "parley.memory.limit": 268_435_456,
      "parley.connections.accepted": 1,
      "parley.connections.closed reason=forced": 0,
      "parley.connections.rejected reason=busy": 0,
      "parley.requests status=ok": 2,
      "parley.requests status=timeout": 0,
      "parley.requests.in_flight": 0,
      "parley.request.duration.bucket le=+Inf": 2,
      "parley.received": 13,
      "parley.sent": 8,
      "parley.threads": 1,
      "parley.threads.lost": 0,
    };
    for (const [name, value] of Object.entries(expected)) {
      assertEquals(values.get(name), value, name);
    }
    assertEquals((values.get("parley.request.duration.sum") ?? 0) > 0, true);
    server.kill("SIGTERM");
    assertEquals(await server.code(), 0);
  },
);
