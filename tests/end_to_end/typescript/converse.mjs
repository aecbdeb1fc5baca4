// A conversation of an official TypeScript client with a server: node converse.mjs LINE URL REGISTRATION
// LINE is the client's: v1 (@modelcontextprotocol/sdk) or v2 (@modelcontextprotocol/client).
const [line, url, registration] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport } = line === "v2"
  ? await import("@modelcontextprotocol/client")
  : {
      ...(await import("@modelcontextprotocol/sdk/client/index.js")),
      ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
    };
const client = new Client({ name: "converse", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));

const { tools } = await client.listTools();
await client.callTool({ name: "register_tenant", arguments: JSON.parse(registration) });
// The client checks structured answers against the output schemas it has listed, and throws if they do not fit.
const listed = await client.callTool({ name: "list_tables", arguments: { tenant_id: "acme" } });
const query = { tenant_id: "acme", query: "SELECT 9007199254740993::bigint AS big, now() AS at" };
const answered = await client.callTool({ name: "execute_query", arguments: query });
if (answered.structuredContent.rows[0][0] !== "9007199254740993") throw new Error("a bigint lost its last digit");
const refused = await client.callTool({ name: "list_tables", arguments: { tenant_id: "nobody" } });

console.log(JSON.stringify({
  tools: tools.map((tool) => tool.name),
  tables: listed.structuredContent.tables.map((table) => table.name),
  title: client.getServerVersion().title,
  refused: refused.isError,
}));
await client.close();
