-- Health of a PersonalAccessToken, in the layout of Argo CD's resource_customizations. It says what kstatus says, and
-- Suspended besides, also where a TokenPolicy stops it. A token that has expired is Healthy, as nothing is left to be done:
-- its message says that it expired.
local health = {status = "Progressing", message = "Waiting for pat-operator."}
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local active, ready, stalled = conditions.Active, conditions.Ready, conditions.Stalled

if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
  health.message = stalled.reason .. ": " .. stalled.message
elseif ready == nil or active == nil then
  return health
elseif ready.status ~= "True" then
  health.message = ready.reason .. ": " .. ready.message
elseif active.reason == "Suspended" or active.reason == "DeniedByPolicy" or active.reason == "PolicyNotUnderstood" then
  health.status = "Suspended"
  health.message = active.message
else
  health.status = "Healthy"
  health.message = (conditions.ExpiringSoon or active).message
end
return health
