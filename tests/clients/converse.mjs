// A conversation of an official TypeScript client with a server, as JSON on standard output.
// Arguments: the client's line, a URL or the JSON of a command, and the JSON of a registration. The line is v1
// (@modelcontextprotocol/sdk), v2 (@modelcontextprotocol/client) or v2-auto (which asks for the newest revision first).
const [line, target, registration] = process.argv.slice(2);
const old = line === "v1";
const { Client, StreamableHTTPClientTransport } = old
  ? {
      ...(await import("@modelcontextprotocol/sdk/client/index.js")),
      ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
    }
  : await import("@modelcontextprotocol/client");
const { StdioClientTransport } = old
  ? await import("@modelcontextprotocol/sdk/client/stdio.js")
  : await import("@modelcontextprotocol/client/stdio");

const client = new Client(
  { name: "converse", version: "1.0.0" },
  line === "v2-auto" ? { versionNegotiation: { mode: "auto" } } : {},
);
const transport = target.startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(target))
  : new StdioClientTransport(JSON.parse(target));
let revision;
if (old) transport.setProtocolVersion = (agreed) => { revision = agreed; transport._protocolVersion = agreed; };
await client.connect(transport);

const { tools } = await client.listTools();
await client.callTool({ name: "register_tenant", arguments: JSON.parse(registration) });
// The client checks structured answers against the output schemas it has listed, and throws if they do not fit.
const listed = await client.callTool({ name: "list_tables", arguments: { tenant_id: "acme" } });
const query = { tenant_id: "acme", query: "SELECT 9007199254740993::bigint AS big, now() AS at" };
const answered = await client.callTool({ name: "execute_query", arguments: query });
const refused = await client.callTool({ name: "list_tables", arguments: { tenant_id: "nobody" } });
const { resources } = await client.listResources();
const { contents } = await client.readResource({ uri: "registry://tenants" });
const { prompts } = await client.listPrompts();
const prompt = { name: "explore_database", arguments: { tenant_id: "acme" } };
const { messages } = await client.getPrompt(prompt);
const ref = { type: "ref/prompt", name: "explore_database" };
const { completion } = await client.complete({ ref, argument: { name: "tenant_id", value: "ac" } });

console.log(JSON.stringify({
  revision: revision ?? client.getNegotiatedProtocolVersion(),
  title: client.getServerVersion().title,
  tools: tools.map((tool) => tool.name),
  tables: listed.structuredContent.tables.map(([, name]) => name),
  big: answered.structuredContent.rows[0][0],
  refused: refused.isError,
  resources: resources.map((resource) => resource.uri),
  tenants: contents[0].text,
  prompts: prompts.map((each) => each.name),
  prompt: messages[0].content.text,
  completed: completion.values,
}));
await client.close();
