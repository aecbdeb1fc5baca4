import time
from tests.security import sql_cases as s
import tests.security.test_sql_corpus as t
orig=s.play
async def play(stage,case):
    b=time.monotonic(); c=time.process_time()
    r=await orig(stage,case)
    d=time.monotonic()-b
    if d>.25: print(f"SLOW {case.id} {d:.2f} cpu {time.process_time()-c:.2f} {case.sql[:100]}",flush=True)
    if r: print("FAULT",case.id,r[0],case.sql[:300],r[1][:600],flush=True)
    return r
t.play=play
def pytest_configure(): pass
import msgspec, os, json
def cases_():
    c=orig_cases()
    k=os.environ.get("CASES")
    if os.environ.get("EXTRA"): c=[s.Case(**x) for x in json.load(open(os.environ["EXTRA"]))]
    return [x for x in c if not k or x.id in k.split(",")]
orig_cases=s.cases
t.cases=cases_
if os.environ.get("SHOW"):
    async def play(stage,case):
        texts=s._texts(case)
        played=[await s._run(stage,case,x) for x in texts]
        print(stage.superuser, case.id,"|",case.sql[:150].replace("\n"," "),"=>"," || ".join(p.text[:int(os.environ["SHOW"])] for p in played),flush=True)
        r=await orig(stage,case)
        if r: print("FAULT",case.id,r[0],flush=True)
        return r
    t.play=play
if os.environ.get("WATCH"):
    last=[None]
    async def play(stage,case):
        r=await orig(stage,case)
        async with stage.pool.acquire() as c:
            v=await c.fetchval(os.environ["WATCH"])
        if v!=last[0]: print("CHANGED",case.id,last[0],v,flush=True)
        last[0]=v
        return r
    t.play=play
