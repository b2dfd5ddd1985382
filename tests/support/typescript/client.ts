// What a case system in TypeScript does with a client that openapi-typescript generates: every line is type-checked.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const client = createClient<paths>({
  baseUrl: process.env["GATEWAY_URL"]!,
  headers: { Authorization: `Bearer ${process.env["GATEWAY_API_KEY"]}` },
});

const body: components["schemas"]["NotificationIn"] = {
  borrower: {
    id: "B-1",
    name: "Chen Mei",
    locale: "zh-TW",
    jurisdiction: "tw",
    time_zones: ["Asia/Taipei"],
    addresses: { sms: "+886912345678", inapp: "B-1" },
  },
  case: { id: "C-1", product: "card", due_date: "2026-11-01", stage: "first_reminder" },
  template: "overdue-first",
  variables: { amount: "3913.00", currency: "TWD", due_date: "2026-11-01" },
  route: [{ channel: "sms", wait: "PT30M", until: "delivered" }, { channel: "inapp" }],
  category: "collections",
};

const options = { params: { header: { "Idempotency-Key": "typescript-1" } }, body };
const accepted = await client.POST("/v1/notifications", options);
assert.equal(accepted.response.status, 202);
const again = await client.POST("/v1/notifications", options);
assert.equal(again.response.status, 200);
assert.equal(again.response.headers.get("Idempotent-Replayed"), "true");
assert.equal(again.data?.id, accepted.data?.id);

const path = { notification_id: accepted.data!.id };
const shown = await client.GET("/v1/notifications/{notification_id}", { params: { path } });
const channel: string | undefined = shown.data?.deliveries[0]?.channel;
assert.equal(channel, "sms");

const refused = await client.POST("/v1/notifications", { body: { ...body, template: "overdue-frist" } });
const problem: components["schemas"]["ProblemOut"] | undefined = refused.error;
assert.equal(problem?.type, "/problems/unknown_template");
assert.match(problem?.errors?.[0]?.detail ?? "", /did you mean "overdue-first"/);

const page = await client.GET("/v1/suppressions", { params: { query: { limit: 10 } } });
const suppressions: components["schemas"]["SuppressionOut"][] = page.data?.suppressions ?? [];
assert.deepEqual(suppressions, []);
console.log("ok");
