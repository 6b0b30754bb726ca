<#
.SYNOPSIS
    Runs npu-gateway over HTTP whenever this user is logged on, by the Task Scheduler.

.DESCRIPTION
    Not tried on Windows yet: it was written from Microsoft's documentation of the ScheduledTasks
    module, and is checked by no test there. Tell what you find.

    No service and no administrator: models, index and keys stay the user's own, and the NPU's
    driver is there as in any program of theirs. The Task Scheduler ends a task without a signal
    that it could heed, so answers being written are cut off; the index survives any end.

.EXAMPLE
    ./install-task.ps1 -Command "$env:USERPROFILE\.local\bin\npu-gateway.exe"

.EXAMPLE
    ./install-task.ps1 -Remove
#>
[CmdletBinding(SupportsShouldProcess)]
param(
    [string] $Command = (Get-Command npu-gateway -ErrorAction SilentlyContinue).Source,
    [int] $Port = 8642,
    [string] $Name = 'npu-gateway',
    [switch] $Remove
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

if ($Remove) {
    Stop-ScheduledTask -TaskName $Name -ErrorAction SilentlyContinue
    Unregister-ScheduledTask -TaskName $Name -Confirm:$false
    return
}
if (-not $Command -or -not (Test-Path -LiteralPath $Command -PathType Leaf)) {
    throw 'There is no npu-gateway.exe on the path; name it with -Command.'
}

$Arguments = "serve --http --host 127.0.0.1 --port $Port --offline --log-level info"
$Action = New-ScheduledTaskAction -Execute $Command -Argument $Arguments
$Trigger = New-ScheduledTaskTrigger -AtLogOn -User $env:USERNAME
$Principal = New-ScheduledTaskPrincipal -UserId $env:USERNAME -LogonType Interactive -RunLevel Limited
$Settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries `
    -ExecutionTimeLimit ([TimeSpan]::Zero) -MultipleInstances IgnoreNew `
    -RestartCount 3 -RestartInterval (New-TimeSpan -Minutes 1)

if ($PSCmdlet.ShouldProcess($Name, 'Register the task and start it')) {
    Register-ScheduledTask -TaskName $Name -Action $Action -Trigger $Trigger `
        -Principal $Principal -Settings $Settings -Force | Out-Null
    Start-ScheduledTask -TaskName $Name
    Write-Host "npu-gateway answers at http://127.0.0.1:$Port; see /readyz."
}
